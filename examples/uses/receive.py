"""Takes deliveries of a Posthaste daemon: verifies each, hands it on once, answers.

`serve(port, react)` calls `react(headers, body)` for each event. Only what the standard library has.
"""

import base64
import hashlib
import hmac
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300
KEY = base64.b64decode(os.environ["ENDPOINT_SECRET"].removeprefix("whsec_"))
# A real receiver keeps these where they survive a restart.
handled = set()


def verified(headers, body):
    """Whether the delivery is from whoever has the secret, and not an old one sent again."""
    signed_at = headers.get("webhook-timestamp", "")
    if not signed_at.isdigit() or abs(time.time() - int(signed_at)) > TOLERANCE:
        return False
    text = f"{headers.get('webhook-id', '')}.{signed_at}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(KEY, text, hashlib.sha256)).decode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, one) for one in given)


def serve(port, react):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not verified(self.headers, body):
                return self.answer(401)
            if self.headers["webhook-id"] not in handled:
                react(self.headers, body)
                handled.add(self.headers["webhook-id"])
            self.answer(204)

        def answer(self, status):
            self.send_response_only(status)
            self.send_header("content-length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
