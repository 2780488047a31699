"""What tests need of TLS beyond Python's ssl: a client over OpenSSL itself, a certificate authority, a responder for OCSP."""

import _ssl  # for the libssl that it is linked to
import ctypes
import http.server
import socket
import ssl
import subprocess
import threading

from harness import LIMIT_S

_lib = ctypes.CDLL(_ssl.__file__)
_pointer, _int, _long, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
_MESSAGE_CALLBACK = ctypes.CFUNCTYPE(None, _int, _int, _int, _pointer, ctypes.c_size_t, _pointer, _pointer)


def _function(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments
    return function


_method = _function("TLS_client_method", _pointer)
_new_context = _function("SSL_CTX_new", _pointer, _pointer)
_free_context = _function("SSL_CTX_free", None, _pointer)
_context_ctrl = _function("SSL_CTX_ctrl", _long, _pointer, _int, _long, _pointer)
_new = _function("SSL_new", _pointer, _pointer)
_free = _function("SSL_free", None, _pointer)
_ctrl = _function("SSL_ctrl", _long, _pointer, _int, _long, _pointer)
_set_bio = _function("SSL_set_bio", None, _pointer, _pointer, _pointer)
_set_connect_state = _function("SSL_set_connect_state", None, _pointer)
_do_handshake = _function("SSL_do_handshake", _int, _pointer)
_read = _function("SSL_read", _int, _pointer, _pointer, _int)
_write = _function("SSL_write", _int, _pointer, _pointer, _int)
_shutdown = _function("SSL_shutdown", _int, _pointer)
_get_error = _function("SSL_get_error", _int, _pointer, _int)
_key_update = _function("SSL_key_update", _int, _pointer, _int)
_renegotiate = _function("SSL_renegotiate", _int, _pointer)
_set_message_callback = _function("SSL_set_msg_callback", None, _pointer, _MESSAGE_CALLBACK)
_memory = _function("BIO_s_mem", _pointer)
_new_bio = _function("BIO_new", _pointer, _pointer)
_bio_read = _function("BIO_read", _int, _pointer, _pointer, _int)
_bio_write = _function("BIO_write", _int, _pointer, _pointer, _int)
_clear_errors = _function("ERR_clear_error", None)
_last_error = _function("ERR_peek_last_error", ctypes.c_ulong)
_error_text = _function("ERR_reason_error_string", _text, ctypes.c_ulong)

_WANT_READ, _ZERO_RETURN = 2, 6
_SET_MIN_VERSION, _SET_MAX_VERSION, _SET_NAME, _ASK_STATUS, _GET_STATUS = 123, 124, 55, 65, 70
_HANDSHAKE_RECORD, _FINISHED, _KEY_UPDATE = 22, 20, 24


class Truncated(Exception):
    """The stream ended without close_notify."""


class Refused(Exception):
    """TLS failed, with OpenSSL's reason."""


class TlsClient:
    """A TLS connection whose bytes on the wire are the test's to cut: encrypt() and send_raw() are sendall() in two steps. Looks like a
    socket to harness.Client. It does not check the server's certificate."""

    def __init__(self, port, version=None, name="localhost", status=False):
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.setsockopt, self.fileno, self.settimeout = self.socket.setsockopt, self.socket.fileno, self.socket.settimeout
        context = _new_context(_method())
        if version:
            _context_ctrl(context, _SET_MIN_VERSION, version, None)
            _context_ctrl(context, _SET_MAX_VERSION, version, None)
        self.ssl = _new(context)
        _free_context(context)  # the SSL has its own hold
        self.incoming, self.outgoing = _new_bio(_memory()), _new_bio(_memory())
        _set_bio(self.ssl, self.incoming, self.outgoing)
        _ctrl(self.ssl, _SET_NAME, 0, ctypes.cast(ctypes.c_char_p(name.encode()), _pointer))
        if status:
            _ctrl(self.ssl, _ASK_STATUS, 1, None)
        self.key_updates = self.handshakes = 0  # of the server's, so far
        self._callback = _MESSAGE_CALLBACK(self._saw)
        _set_message_callback(self.ssl, self._callback)
        _set_connect_state(self.ssl)
        self.handshake()

    def _saw(self, written, _version, kind, data, size, _ssl, _argument):
        if not written and kind == _HANDSHAKE_RECORD and size:
            first = ctypes.cast(data, ctypes.POINTER(ctypes.c_ubyte))[0]
            self.key_updates += first == _KEY_UPDATE
            self.handshakes += first == _FINISHED

    def _call(self, function, *arguments):
        """The result, or None when it wants bytes of the server; close_notify is 0."""
        _clear_errors()
        result = function(self.ssl, *arguments)
        if result > 0:
            return result
        error = _get_error(self.ssl, result)
        if error == _WANT_READ:
            return None
        if error == _ZERO_RETURN:
            return 0
        reason = _error_text(_last_error()) or b"error %d" % error
        _clear_errors()  # Python's ssl would find it
        raise Refused(reason.decode())

    def _feed(self):
        data = self.socket.recv(65536)
        if not data:
            raise Truncated
        _bio_write(self.incoming, data, len(data))

    def _drain(self):
        out, buffer = b"", ctypes.create_string_buffer(1 << 16)
        while (size := _bio_read(self.outgoing, buffer, len(buffer))) > 0:
            out += buffer.raw[:size]
        return out

    def handshake(self):
        while True:
            done = self._call(_do_handshake)
            self.flush()
            if done is not None:
                return
            self._feed()

    def encrypt(self, data):
        """The records that carry this, not sent."""
        if data:
            written = self._call(_write, bytes(data), len(data))
            assert written == len(data), written
        return self._drain()

    def send_raw(self, data):
        self.socket.sendall(data)

    def flush(self):
        self.send_raw(self._drain())

    def sendall(self, data):
        self.send_raw(self.encrypt(data))

    def recv(self, size):
        """b"" is the server's close_notify; an end without one is Truncated."""
        buffer = ctypes.create_string_buffer(size)
        while (got := self._call(_read, buffer, size)) is None:
            self.flush()
            self._feed()
        return buffer.raw[:got]

    def close_notify(self):
        """Its record, not sent. No more can be encrypted; the server's bytes can still be read."""
        _clear_errors()
        _shutdown(self.ssl)
        return self._drain()

    def end_sending(self):
        self.send_raw(self.close_notify())

    def key_update(self, ask):
        """New keys for this direction, and with `ask` a request for new keys in the other; both go out before what is sent next."""
        assert _key_update(self.ssl, 1 if ask else 0) == 1
        assert self._call(_do_handshake) == 1

    def renegotiate(self):
        """A second handshake, asked for by the client. Refused when the server refuses."""
        assert _renegotiate(self.ssl) == 1
        before = self.handshakes
        while self.handshakes == before:
            self._call(_do_handshake)
            self.flush()
            self._feed()

    def stapled(self):
        """The size of the OCSP response that came with the server's certificate, -1 without."""
        response = _pointer()
        return _ctrl(self.ssl, _GET_STATUS, 0, ctypes.byref(response))

    def close(self):
        self.socket.close()
        if self.ssl:
            _free(self.ssl)
            self.ssl = None


def cut_off(connection):
    """Ends the TCP stream of a TLS connection without a word of TLS."""
    raw = socket.socket(fileno=connection.detach()) if isinstance(connection, ssl.SSLSocket) else connection
    raw.close()


def openssl(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=LIMIT_S, **options).stdout


class Authority:
    """A certificate authority in a folder, and what it issues."""

    def __init__(self, folder):
        self.folder = folder
        self.cert, self.key = folder / "ca.pem", folder / "ca.key"
        openssl("req", "-x509", *self.new_key(self.key), "-days", 2, "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,digitalSignature", "-out", self.cert)

    @staticmethod
    def new_key(file):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file

    def issue(self, name, *extensions):
        """Certificate and key for a name, as files."""
        cert, key, asked, wanted = (self.folder / (name + end) for end in [".pem", ".key", ".csr", ".ext"])
        wanted.write_text("\n".join([f"subjectAltName=DNS:{name}", "basicConstraints=critical,CA:FALSE", *extensions, ""]))
        openssl("req", "-new", *self.new_key(key), "-subj", f"/CN={name}", "-out", asked)
        openssl("x509", "-req", "-in", asked, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", 2, "-extfile", wanted, "-out", cert)
        return cert, key

    def respond(self, cert):
        """An OCSP responder for that certificate, as a context; yields its port."""
        return Responder(self, cert)


class Responder:
    def __init__(self, authority, cert):
        serial = openssl("x509", "-in", cert, "-noout", "-serial").decode().strip().split("=")[1]
        index = authority.folder / "index.txt"
        index.write_text(f"V\t491231235959Z\t\t{serial}\tunknown\t/CN=localhost\n")

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked, answer = authority.folder / "asked.der", authority.folder / "answer.der"
                asked.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                openssl("ocsp", "-index", index, "-CA", authority.cert, "-rsigner", authority.cert, "-rkey", authority.key,
                        "-reqin", asked, "-respout", answer, "-ndays", 1)
                self.send_response(200)
                self.send_header("Content-Type", "application/ocsp-response")
                self.end_headers()
                self.wfile.write(answer.read_bytes())

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self.server.server_port

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

