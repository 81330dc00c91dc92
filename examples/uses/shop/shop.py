"""A shop's backend: marks orders as paid and keeps the stock."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from receive import serve

orders, stock = {}, {}


def react(headers, body):
    event = json.loads(body)
    if "x-shopify-topic" in headers:
        stock[event["title"]] = event["inventory"]
        print(f"stock of {event['title']}: {event['inventory']}", flush=True)
    else:
        session = event["data"]["object"]
        orders[session["client_reference_id"]] = "paid"
        print(f"{session['client_reference_id']} is paid: {session['amount_total'] / 100:.2f}", flush=True)


serve(int(sys.argv[1]), react)
