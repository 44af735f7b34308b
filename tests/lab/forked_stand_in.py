# The stand-in of a tool. tests/lab/forked.py puts a line before this that sets SOCKET to the path
# of the server. It starts thousands of times, so it imports hardly anything.
import _socket
import marshal
import posix
import sys

mask = posix.umask(0o077)
request = marshal.dumps((sys.argv, dict(posix.environ), posix.getcwdb(), mask))
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
connection.connect(SOCKET)  # type: ignore[name-defined]  # noqa: F821
connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
posix.closerange(0, 3)  # only the tool shall hold the standard streams
status = int(connection.recv(16) or 255)
posix._exit(status if status >= 0 else 128 - status)
