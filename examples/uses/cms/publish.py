"""Publishes an article: tells every subscriber of the CMS.

    POSTHASTE_TOKEN=$(posthaste token) publish.py http://127.0.0.1:8071 SLUG TITLE
"""

import json
import os
import sys
import urllib.request
import uuid


def publish(server, slug, title):
    event = {
        "eventType": "article.published",
        "payload": {"slug": slug, "title": title},
    }
    headers = {
        "authorization": f"Bearer {os.environ['POSTHASTE_TOKEN']}",
        "content-type": "application/json",
        # Sent again with the same key, it is the same message.
        "idempotency-key": str(uuid.uuid4()),
    }
    url = f"{server}/api/v1/app/cms/msg"
    request = urllib.request.Request(url, json.dumps(event).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        print("published as", json.load(answer)["id"])


publish(*sys.argv[1:])
