// A WebSocket over HTTP/2 (RFC 8441), by node's own HTTP/2 client: h2_peer.mjs PORT PATH [stay]
// Sends messages, a fragmented one with a ping inside too, then closes; exit status 0 if all came back. With "stay" it says "open" when
// they did, waits for the server's close frame, answers it, and says "closed CODE".
import http2 from 'node:http2';

const [port, path, stay] = process.argv.slice(2);
const MASK = Buffer.from([1, 2, 3, 4]);

function frame(opcode, payload, fin = true) {
  const head = payload.length < 126
    ? Buffer.from([(fin ? 0x80 : 0) | opcode, 0x80 | payload.length])
    : Buffer.from([(fin ? 0x80 : 0) | opcode, 0xfe, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([head, MASK, payload.map((byte, i) => byte ^ MASK[i & 3])]);
}

function fail(why) {
  console.error(`h2_peer: ${why}`);
  process.exit(1);
}
setTimeout(() => fail('nothing more came'), 30000).unref();

const session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
session.on('error', error => fail(`session: ${error.message}`));
session.on('remoteSettings', settings => {
  if (!settings.enableConnectProtocol) fail('the server does not offer extended CONNECT');
  const stream = session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':path': path, ':authority': 'localhost',
    'sec-websocket-version': '13', 'sec-websocket-protocol': 'echo',
  });
  stream.on('error', error => fail(`stream: ${error.message}`));
  stream.on('response', headers => {
    if (headers[':status'] !== 200) fail(`status ${headers[':status']}`);
    if (headers['sec-websocket-protocol'] !== 'echo') fail('no subprotocol');
    stream.write(frame(1, Buffer.from('hello')));
    stream.write(frame(2, Buffer.alloc(20000, 7)));
    stream.write(Buffer.concat([frame(1, Buffer.from('frag'), false), frame(9, Buffer.from('ping')), frame(0, Buffer.from('ment'))]));
  });
  const expected = Buffer.concat([
    Buffer.from([0x81, 5]), Buffer.from('hello'), Buffer.from([0x82, 126, 20000 >> 8, 20000 & 255]), Buffer.alloc(20000, 7),
    Buffer.from([0x8a, 4]), Buffer.from('ping'), Buffer.from([0x81, 8]), Buffer.from('fragment')]);
  const closing = Buffer.from([0x0b, 0xb9, ...Buffer.from('done')]);
  let received = Buffer.alloc(0), closed = false;
  stream.on('data', data => {
    received = Buffer.concat([received, data]);
    if (stay) return void stayUntilClosed();
    if (received.equals(expected) && !closed) {
      closed = true;
      stream.write(frame(8, closing));
    }
  });
  function stayUntilClosed() {
    if (received.equals(expected)) console.log('open');
    const rest = received.subarray(expected.length);
    if (rest.length < 4 || closed) return;
    if (rest[0] !== 0x88) fail(`byte ${rest[0]} instead of a close frame`);
    closed = true;
    stream.write(frame(8, rest.subarray(2)));
    console.log(`closed ${rest.readUInt16BE(2)}`);
  }
  stream.on('end', () => {
    if (stay) return void session.close();
    const all = Buffer.concat([expected, Buffer.from([0x88, closing.length]), closing]);
    if (!received.equals(all)) fail(`other bytes came back: ${received.length}, expected ${all.length}`);
    session.close();
  });
});
