"""One line for each push and each finished pipeline."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from receive import serve


def react(headers, body):
    event = json.loads(body)
    if headers.get("x-github-event") == "push":
        print(f"{event['repository']['full_name']}: {event['head_commit']['message']}", flush=True)
    elif headers.get("x-gitlab-event") == "Pipeline Hook":
        run = event["object_attributes"]
        print(f"{event['project']['path_with_namespace']} {run['ref']}: {run['status']}", flush=True)


serve(int(sys.argv[1]), react)
