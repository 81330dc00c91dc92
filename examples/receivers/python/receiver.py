"""Receives webhooks: verifies each one, prints it, answers 204 or 400. SECRET is the endpoint's."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["SECRET"])


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection for the next delivery

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            payload = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError) as error:
            self.send_error(400, f"not verified: {error}")
            return
        print("verified", self.headers["webhook-id"], json.dumps(payload), flush=True)
        self.send_response_only(204)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8072))), Receiver)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
