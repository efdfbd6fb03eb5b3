/** Where fuzzing of what the CNI plugin reads starts; native/fuzz/cni_fuzz.cc has the format. */

const json = (text: string): Buffer => Buffer.from(`\0${text}`);
const delegates = (text: string): Buffer => Buffer.from(`\x02${text}`);
const text = (bytes: Buffer | string): Buffer => Buffer.concat([Buffer.from([3]), Buffer.from(bytes)]);
const answer = (lines: readonly string[], body = '', steps: readonly number[] = []): Buffer =>
  Buffer.concat([
    Buffer.from([1, ...Array.from({ length: 8 }, (_, i) => steps[i] ?? 0)]),
    Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`),
  ]);

const OK = 'HTTP/1.1 200 OK';
const CHUNKED = 'Transfer-Encoding: chunked';
const bridge = {
  plugin: 'bridge',
  env: { CNI_COMMAND: 'ADD', CNI_IFNAME: 'eth0' },
  config: { type: 'bridge', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.17.0/24' }]] } },
};

export const CNI: Readonly<Record<string, Buffer>> = {
  config: json(
    '{"cniVersion":"1.0.0","name":"pods","type":"loden","socket":"/run/x.sock","delQueue":"\\/var\\u002fq"}',
  ),
  'config-cut': json('{"socket":"/run/x.sock","a":[1,2.5e-3,{"b":null}],"cniVersion":"0.3.1","c":'),
  'config-surrogates': json('{"\\ud83d\\ude00":"\\ud83d","so\\u0063ket":"\\u0000"}'),
  values: json('[-0.0E+1,true,false,null,"",{},[],[[]],{"a":{"b":[{}]}}, "\\"\\\\\\b\\f\\n\\r\\t"]'),
  deep: json('['.repeat(1001) + ']'.repeat(1001)),
  'deep-enough': json(`${'[{"a":'.repeat(500)}[]${'}]'.repeat(500)}`),
  'answer-length': answer(
    [OK, 'Content-Type: application/json; charset=utf-8', 'Content-Length: 2'],
    '{}',
    [1],
  ),
  'answer-warning': answer([OK, 'x-loden-warning:  the subnet has changed ', 'Content-Length: 0']),
  'answer-chunked': answer(
    [OK, CHUNKED],
    '3;name="x"\r\n{"a\r\nA \r\n":[1,2,3]}\r\n0\r\nTrailer: x\r\n\r\n',
    [1, 2, 3],
  ),
  'answer-to-end': answer([OK, 'Content-Type: text/plain'], 'all of it', [5]),
  'answer-interim': answer(['HTTP/1.1 100 Continue', '', OK, 'Content-Length: 1'], 'x', [7, 1]),
  'answer-error': answer(
    ['HTTP/1.1 500 x', 'Content-Type: application/json', 'Content-Length: 9'],
    '{"code":7}',
  ),
  'answer-two-lengths': answer([OK, 'Content-Length: 1', CHUNKED], '1\r\nx\r\n0\r\n\r\n'),
  'answer-none': answer(['HTTP/1.1 204 No Content', 'Content-Length: 5'], '', [1]),
  'answer-too-long': answer([OK, 'Content-Length: 99999'], 'x'),
  'answer-folded': answer([OK, 'A: b', ' c']),
  delegates: delegates(JSON.stringify({ delegates: [bridge, { ...bridge, plugin: 'portmap' }] })),
  'delegates-two-lists': delegates(`{"delegates":[1],"delegates":${JSON.stringify([bridge])}}`),
  'delegates-path': delegates(JSON.stringify({ delegates: [{ ...bridge, plugin: '../bridge' }] })),
  'delegates-own': delegates(JSON.stringify({ delegates: [{ ...bridge, plugin: 'flannel' }] })),
  'delegates-variable': delegates(JSON.stringify({ delegates: [{ ...bridge, env: { LD_PRELOAD: '/x' } }] })),
  // Three times this is one byte more than the target has place for: the zero byte behind the last name.
  'delegates-exact': delegates(
    `{"delegates":[{"config":${JSON.stringify({ text: 'x'.repeat(665) })},"plugin":"bridge"}]}`,
  ),
  text: text('a "quoted" \\ text\n\twith é, 中 and 😀\x7f'),
  'text-not-utf8': text(
    Buffer.from([0xc0, 0x80, 0xe0, 0x80, 0x80, 0xed, 0xa0, 0x80, 0xf5, 0x80, 0xff, 0xe4, 0xb8]),
  ),
};
