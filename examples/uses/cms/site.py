"""A subscriber of the CMS: a site that renders what was published."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from receive import serve


def react(headers, body):
    article = json.loads(body)
    print(f"rendering /{article['slug']}: {article['title']}", flush=True)


serve(int(sys.argv[1]), react)
