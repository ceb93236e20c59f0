"""Moto's S3 as a process of its own, whose libraries `make install` put apart: prints the port it listens on.

A put that must not replace anything is looked up and done without another one in between, as S3 does it.
"""

import sys
import threading

if __name__ == "__main__":
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    moto, one_by_one = DomainDispatcherApplication(create_backend_app), threading.Lock()

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open

        def log(self, *_: object) -> None:
            pass

    def application(environ, start_response):
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return moto(environ, start_response)
        with one_by_one:
            return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()  # until the tests close it, or end
