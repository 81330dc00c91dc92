"""One list of issues, whichever tracker they were reported in."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from receive import serve


def react(headers, body):
    event = json.loads(body)
    if "linear-event" in headers:
        issue, title = event["data"]["identifier"], event["data"]["title"]
    else:
        issue, title = event["issue"]["key"], event["issue"]["fields"]["summary"]
    print(f"new issue {issue}: {title}", flush=True)


serve(int(sys.argv[1]), react)
