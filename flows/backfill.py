"""Backfill a space with a new encoder: the steps of a refresh, beside the table that serves."""

from flows.refresh import refresh

backfill = refresh.with_options(name="backfill", flow_run_name="backfill {space}")
