// Receives webhooks: verifies each one, prints it, answers 204 or 400. SECRET is the endpoint's.
import http from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.SECRET);

const server = http.createServer(async (request, response) => {
  try {
    const body = Buffer.concat(await request.toArray());
    const payload = webhook.verify(body, request.headers);
    console.log("verified", request.headers["webhook-id"], JSON.stringify(payload));
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(400).end(`not verified: ${error.message}\n`);
  }
});

server.listen(process.env.PORT ?? 8072, "127.0.0.1", () =>
  console.log(`listening on 127.0.0.1:${server.address().port}`),
);
