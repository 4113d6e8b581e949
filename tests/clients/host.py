"""A function host that is somebody else's: any HTTP server that answers the path of the Lambda API.

`host.py ADDRESS PORT FILE` makes FILE once it listens, and serves until its standard input ends.
"""

import http.server
import json
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"path": self.path, "event": event}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


address, port, file = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
open(file, "x").close()
sys.stdin.read()
