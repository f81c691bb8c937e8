"""Prompts as models of two towers have them: `{}` stands for the text, or they come before it."""


def in_prompt(prompt: str, text: str) -> str:
    """The text in its place in the prompt."""
    return prompt.replace("{}", text) if "{}" in prompt else prompt + text


def outside(prompt: str) -> str:
    """What the prompt adds to a text."""
    return prompt.replace("{}", " ")
