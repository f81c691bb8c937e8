"""Tells a webhook, such as a chat's, of each run that failed, was refused, or found drift.

    python deploy/webhook.py https://hooks.example.com/services/...

makes two things on the server of PREFECT_API_URL: a block that keeps the address, and an automation
that calls it. Run it again to change the address. Both can be looked at in Prefect's pages.
"""

import sys
from datetime import timedelta

from prefect.automations import AutomationCore
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import CallWebhook
from pydantic import SecretStr

NAME = "vectorline"

# A verdict's own words; of a failed or crashed run those of its state. Prefect fills it in.
PAYLOAD = """\
{% set said = event.payload.get("message") or event.payload.validated_state.message %}
{"text": {{ [event.event, flow_run.name, said] | join(": ") | tojson }}}
"""


def main(url: str) -> None:
    """Makes or changes the block, and makes the automation anew."""
    block = Webhook(url=SecretStr(url))
    block.save(NAME, overwrite=True)
    trigger = EventTrigger(
        expect={"vectorline.*", "prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
        match_related=ResourceSpecification(
            {"prefect.resource.id": "prefect.tag.vectorline", "prefect.resource.role": "tag"}
        ),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    document_id = block._block_document_id
    assert document_id is not None  # noqa: S101 - a saved block has one
    call = CallWebhook(block_document_id=document_id, payload=PAYLOAD)
    with get_client(sync_client=True) as client:
        for old in client.read_automations_by_name(NAME):
            client.delete_automation(old.id)
        client.create_automation(AutomationCore(name=NAME, trigger=trigger, actions=[call]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
