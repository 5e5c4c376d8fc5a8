"""Google Cloud Storage and Azure Blob Storage on loopback, as far as a store asks for them: objects of one bucket in memory, conditional
creates, ranges, uploads in parts, listings in pages. What it does not know is answered with 501, so that nothing passes by accident.

Prints the ports: Google's, then Azure's. Ends when its stdin does. Requests must carry credentials: a bearer token for Google, a signature
of the account's key for Azure (which is not checked further).
"""
import datetime
import email.utils
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET, ACCOUNT, TOKEN = "strandline-test", "teststore", "the-token-of-the-test"
PAGE = 7
STATUS = {403: "Forbidden", 404: "NotFound", 412: "PreconditionFailed", 416: "InvalidRange", 501: "NotImplemented"}


class Objects:
    """Name to (bytes, when, etag); parts of uploads that are under way."""

    def __init__(self):
        self.lock, self.there, self.uploads, self.count = threading.Lock(), {}, {}, 0

    def put(self, name, data, only_new):
        with self.lock:
            if only_new and name in self.there:
                return None
            self.count += 1
            self.there[name] = (data, time.time(), f'"{self.count}"')
            return self.there[name][2]

    def page(self, prefix, after, begin=""):
        with self.lock:
            names = sorted(name for name in self.there if name.startswith(prefix) and name > after and name >= begin)
            return [(name, self.there[name]) for name in names[:PAGE]], len(names) > PAGE


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code=None):
        code = code or STATUS[status]
        self.answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said by the test's server</Message></Error>".encode())

    def handle_all(self):
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.root(parts.path)
        if path is None:
            return
        bucket, _, name = path.partition("/")
        if unquote(bucket) != BUCKET:
            return self.fail(404, "NoSuchBucket" if self.google else "ContainerNotFound")
        self.name, self.objects = unquote(name), self.server.objects
        act = getattr(self, f"do_{'object' if name else 'bucket'}_{self.command.lower()}", None)
        return act() if act else self.fail(501)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_all

    def do_object_get(self):
        found = self.objects.there.get(self.name)
        if not found:
            return self.fail(404, "NoSuchKey" if self.google else "BlobNotFound")
        data, when, etag = found
        headers = [("ETag", etag), ("Last-Modified", email.utils.formatdate(when, usegmt=True)), ("x-goog-generation", etag.strip('"'))]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or self.headers.get("x-ms-range") or "")
        if not wanted:
            return self.answer(200, data, headers)
        begin, end = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        if begin >= len(data):
            return self.fail(416)
        return self.answer(206, data[begin:end + 1], [*headers, ("Content-Range", f"bytes {begin}-{end}/{len(data)}")])

    def do_object_head(self):
        found = self.objects.there.get(self.name)
        if not found:
            return self.answer(404)
        self.send_response(200)
        self.send_header("ETag", found[2])
        self.send_header("Last-Modified", email.utils.formatdate(found[1], usegmt=True))
        self.send_header("Content-Length", str(len(found[0])))
        self.end_headers()

    def do_object_delete(self):
        with self.objects.lock:
            if "uploadId" in self.query:
                gone = self.objects.uploads.pop(self.query["uploadId"], None)
            else:
                gone = self.objects.there.pop(self.name, None)
        if gone is None:
            return self.fail(404, "NoSuchKey" if self.google else "BlobNotFound")
        return self.answer(204 if self.google else 202)


class Google(Handler):
    google = True

    def root(self, path):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.fail(403)
            return None
        return path.lstrip("/")

    def do_object_put(self):
        if "uploadId" in self.query:
            parts = self.objects.uploads.get(self.query["uploadId"])
            if parts is None:
                return self.fail(404, "NoSuchUpload")
            parts[int(self.query["partNumber"])] = self.body
            return self.answer(200, b"", [("ETag", f'"part-{self.query["partNumber"]}"')])
        condition = self.headers.get("x-goog-if-generation-match")
        if condition not in (None, "0"):
            return self.fail(501)
        etag = self.objects.put(self.name, self.body, condition == "0")
        return self.answer(200, b"", [("ETag", etag), ("x-goog-generation", etag.strip('"'))]) if etag else self.fail(412)

    def do_object_post(self):
        if "uploads" in self.query:
            with self.objects.lock:
                self.objects.count += 1
                upload = f"upload-{self.objects.count}"
                self.objects.uploads[upload] = {}
            where = f"<Bucket>{BUCKET}</Bucket><Key>{escape(self.name)}</Key><UploadId>{upload}</UploadId>"
            return self.answer(200, f"<InitiateMultipartUploadResult>{where}</InitiateMultipartUploadResult>".encode())
        parts = self.objects.uploads.pop(self.query.get("uploadId"), None)
        if parts is None:
            return self.fail(404, "NoSuchUpload")
        numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)</PartNumber>", self.body)]
        etag = self.objects.put(self.name, b"".join(parts[n] for n in numbers), False)
        said = f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>"
        return self.answer(200, said.encode(), [("x-goog-generation", etag.strip('"'))])

    def do_bucket_get(self):
        if self.query.get("list-type") != "2" or "delimiter" in self.query:
            return self.fail(501)
        after = max(self.query.get("continuation-token", ""), self.query.get("start-after", ""))
        found, more = self.objects.page(self.query.get("prefix", ""), after)
        said = ["<ListBucketResult>"]
        for name, (data, when, etag) in found:
            at = datetime.datetime.fromtimestamp(when, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            said.append(f"<Contents><Key>{escape(name)}</Key><LastModified>{at}</LastModified><ETag>{escape(etag)}</ETag><Size>{len(data)}</Size></Contents>")
        said.append(f"<NextContinuationToken>{escape(found[-1][0])}</NextContinuationToken>" if more else "")
        return self.answer(200, ("".join(said) + "</ListBucketResult>").encode())


class Azure(Handler):
    google = False

    def root(self, path):
        if not (self.headers.get("Authorization") or "").startswith(f"SharedKey {ACCOUNT}:"):
            self.fail(403, "AuthenticationFailed")
            return None
        account, _, rest = path.lstrip("/").partition("/")
        if account != ACCOUNT:
            self.fail(404, "ResourceNotFound")
            return None
        return rest

    def do_object_put(self):
        if self.query.get("comp") == "block":
            with self.objects.lock:
                self.objects.uploads.setdefault(self.name, {})[self.query["blockid"]] = self.body
            return self.answer(201, b"", [("Content-MD5", "none")])
        if self.query.get("comp") == "blocklist":
            blocks = re.findall(r"<Uncommitted>([^<]+)</Uncommitted>", self.body.decode())
            parts = self.objects.uploads.pop(self.name, {})
            if any(block not in parts for block in blocks):
                return self.fail(404, "InvalidBlockList")
            etag = self.objects.put(self.name, b"".join(parts[block] for block in blocks), False)
            return self.answer(201, b"", [("ETag", etag)])
        if self.headers.get("x-ms-blob-type") != "BlockBlob" or self.query:
            return self.fail(501)
        etag = self.objects.put(self.name, self.body, self.headers.get("If-None-Match") == "*")
        return self.answer(201, b"", [("ETag", etag)]) if etag else self.fail(409, "BlobAlreadyExists")

    def do_bucket_post(self):
        """Deletions come in batches: a request of its own each, in a part of the body."""
        if (self.query.get("restype"), self.query.get("comp")) != ("container", "batch"):
            return self.fail(501)
        said = []
        for number, path in re.findall(rb"(?i)content-id: (\d+).*?\r\n\r\nDELETE /(\S+) HTTP", self.body, re.DOTALL):
            account, bucket, name = path.decode().split("/", 2)
            with self.objects.lock:
                gone = (account, unquote(bucket)) == (ACCOUNT, BUCKET) and self.objects.there.pop(unquote(name), None)
            status = "202 Accepted" if gone else "404 The specified blob does not exist."
            part = f"Content-Type: application/http\r\nContent-ID: {number.decode()}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-version: 1\r\n\r\n"
            said.append(f"--answer\r\n{part}\r\n")
        body = ("".join(said) + "--answer--").encode()
        return self.answer(202, body, [("Content-Type", "multipart/mixed; boundary=answer")])

    def do_bucket_get(self):
        if (self.query.get("restype"), self.query.get("comp")) != ("container", "list") or "delimiter" in self.query:
            return self.fail(501)
        # `startFrom` is where a listing begins, `marker` the name behind which it goes on
        found, more = self.objects.page(self.query.get("prefix", ""), self.query.get("marker", ""), self.query.get("startFrom", ""))
        said = ["<EnumerationResults><Blobs>"]
        for name, (data, when, etag) in found:
            facts = f"<Last-Modified>{email.utils.formatdate(when, usegmt=True)}</Last-Modified><Content-Length>{len(data)}</Content-Length>"
            facts += f"<Content-Type>application/octet-stream</Content-Type><Etag>{escape(etag)}</Etag>"
            said.append(f"<Blob><Name>{escape(name)}</Name><Properties>{facts}</Properties></Blob>")
        said.append(f"</Blobs><NextMarker>{escape(found[-1][0]) if more else ''}</NextMarker></EnumerationResults>")
        return self.answer(200, "".join(said).encode())


def main():
    servers = []
    for handler in (Google, Azure):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads, server.objects = True, Objects()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    print(*(server.server_address[1] for server in servers), flush=True)
    sys.stdin.read()
    os._exit(0)


main()
