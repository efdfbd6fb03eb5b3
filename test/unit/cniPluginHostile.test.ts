import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CNI } from '../../src/contract.ts';
import { errorOf, json, Plugin } from '../support/cniBinary.ts';

/** The plugin binary against servers that are none, or not the daemon. */

let plugin: Plugin;
beforeEach(() => {
  plugin = new Plugin();
});
afterEach(() => plugin[Symbol.dispose]());

const OK = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';
const ERROR = JSON.stringify({ cniVersion: '1.0.0', code: 7, msg: 'x' });

const error500 = (body: string): string =>
  `HTTP/1.1 500 x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Says it at the first byte of a request, and ends. */
const says = (text: string | Buffer) => (socket: Socket) => {
  socket.once('data', () => socket.end(text));
  socket.resume();
};

describe('an answer that is none', () => {
  test.each<[string, string, string]>([
    ['garbage', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 'not HTTP/1.1'],
    ['HTTP/2', `HTTP/2 200 OK\r\n\r\n{}`, 'not HTTP/1.1'],
    [
      'an endless head',
      `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(10_000)}`,
      'the head of the answer is too long',
    ],
    ['an endless line', `HTTP/1.1 200 ${'x'.repeat(70_000)}`, 'the head of the answer is too long'],
    ['a header without colon', `${OK}nothing\r\n\r\n{}`, 'a header of the answer is malformed'],
    ['a folded header', `${OK}A: b\r\n c\r\n\r\n{}`, 'a header of the answer is malformed'],
    ['a length that is none', `${OK}Content-Length: -2\r\n\r\n{}`, 'Content-Length is malformed'],
    ['two lengths', `${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, 'Content-Length is malformed'],
    ['too great a length', `${OK}Content-Length: 99999999\r\n\r\n{}`, 'the answer is too long'],
    [
      'a length beyond all',
      `${OK}Content-Length: ${'9'.repeat(30)}\r\n\r\n{}`,
      'Content-Length is malformed',
    ],
    ['chunks with a length', `${OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'both'],
    ['compressed', `${OK}Transfer-Encoding: gzip\r\n\r\nx`, 'Transfer-Encoding is unknown'],
    ['a chunk without length', `${OK}Transfer-Encoding: chunked\r\n\r\n\r\n{}`, 'chunks are malformed'],
    ['a chunk that goes on', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n`, 'chunks are malformed'],
    [
      'too great a chunk',
      `${OK}Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(16)}\r\n`,
      'chunks are malformed',
    ],
    ['endless words', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100), 'for interim answers'],
    ['no JSON', `${OK}Content-Length: 3\r\n\r\n{a}`, 'status 200, application/json'],
    ['two values', `${OK}Content-Length: 4\r\n\r\n{}{}`, 'status 200, application/json'],
    [
      'HTML',
      'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}',
      'status 200, text/html',
    ],
    ['JSON of no type', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}', 'status 200, ;'],
    ['a redirection', `HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n`, 'status 302, ;'],
    [
      'an error that is a success',
      `HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: ${ERROR.length}\r\n\r\n${ERROR}`,
      'status 201, application/json',
    ],
    ['an error without number', error500('{"code":"7","msg":"x"}'), 'status 500, application/json'],
    ['an error of no number', error500('{"code":0,"msg":"x"}'), 'status 500, application/json'],
    ['an error without words', error500('{"code":7,"msg":null}'), 'status 500, application/json'],
    ['an error in a list', error500('[{"code":7,"msg":"x"}]'), 'status 500, application/json'],
    [
      'another error',
      `HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"error":"no"}`.replace(
        '13',
        '14',
      ),
      'status 404, application/json; is it of the plugin’s version?'.replace('’', "'"),
    ],
  ])('%s', async (_, answer, why) => {
    await plugin.serveRaw(says(answer));
    const ended = await plugin.call('ADD');
    expect(ended).toMatchObject({ status: 1, stderr: '' });
    const error = errorOf(ended);
    expect(error).toMatchObject({ cniVersion: '1.0.0', code: 999 });
    expect(error.msg).toContain(plugin.socket);
    expect(error.msg).toContain(why);
    expect(errorOf(await plugin.call('STATUS')).code).toBe(50);
    expect(await plugin.call('DEL')).toMatchObject({ status: 0, stdout: '' });
    expect(plugin.queued()).toHaveLength(1);
  });

  test('is never printed, whatever bytes there are in it', async () => {
    await plugin.serveRaw(
      says(`HTTP/1.1 404 x\r\nContent-Type: a"\u0001\u001b[2J\\\u00ff\r\n\r\n{"code":1}`),
    );
    const ended = await plugin.call('ADD');
    expect(errorOf(ended).msg).toContain('status 404, a"\u0001\u001b[2J\\\u00ff;');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
    expect(ended.stdout).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
  });

  test('a warning full of control characters is one line', async () => {
    await plugin.serveRaw(
      says(`${OK}x-loden-warning: \u001b[2J a\u0000b\rc\nd\r\nContent-Length: 2\r\n\r\n{}`),
    );
    expect(errorOf(await plugin.call('ADD'))).toMatchObject({ code: 999 });
    plugin[Symbol.dispose]();
    plugin = new Plugin();
    await plugin.serveRaw(
      says(`${OK}x-loden-warning: \u001b[2J a\rc\nd${'e'.repeat(20_000)}\r\nContent-Length: 2\r\n\r\n{}`),
    );
    const { stderr, stdout } = await plugin.call('ADD');
    expect(stdout).toBe('{}');
    expect(stderr).toMatch(/^\[2J acde+\n$/);
  });
});

describe('an answer that is cut', () => {
  test.each([
    ['at once', ''],
    ['in its first line', 'HTTP/1.1 2'],
    ['in its head', OK],
    ['in its body', `${OK}Content-Length: 5\r\n\r\n{}`],
    ['between chunks', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n`],
    ['behind the last chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n`],
  ])('%s is a daemon that has gone', async (_, answer) => {
    await plugin.serveRaw(says(answer));
    const ended = await plugin.call('ADD');
    expect(errorOf(ended)).toEqual({
      cniVersion: '1.0.0',
      code: 11,
      msg: `the loden daemon at ${plugin.socket} ended the connection before it had answered`,
      details: expect.any(String),
    });
    const kept = await plugin.call('DEL');
    expect(kept).toMatchObject({ status: 0, stdout: '' });
    expect(plugin.queued()).toHaveLength(1);
  });

  test('because the daemon is killed in the middle', async () => {
    const { server } = await plugin.serve(() => server.closeAllConnections());
    expect(errorOf(await plugin.call('ADD'))).toMatchObject({ code: 11 });
    expect(await plugin.call('DEL')).toMatchObject({ status: 0 });
    expect(plugin.queued()).toHaveLength(1);
  });

  test('before the request was read', async () => {
    await plugin.serveRaw((socket) => socket.destroy());
    const stdin = plugin.config().padEnd(1 << 20);
    expect(errorOf(await plugin.call('ADD', { stdin }))).toMatchObject({ code: 11 });
  });
});

describe('an answer that comes', () => {
  test('before the request was read is taken', async () => {
    await plugin.serveRaw((socket) => {
      socket.write(
        `HTTP/1.1 413 x\r\nContent-Type: application/json\r\nContent-Length: ${ERROR.length}\r\n\r\n${ERROR}`,
      );
    });
    const stdin = plugin.config().padEnd(1 << 20, '\u0001');
    expect(await plugin.call('ADD', { stdin })).toEqual({ status: 1, stdout: ERROR, stderr: '' });
  });

  test('instead of the request being read is taken', async () => {
    const length = ERROR.length;
    const head = `HTTP/1.1 413 x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
    await plugin.serveRaw((socket) => socket.write(`${head}${ERROR}`, () => socket.destroy()));
    const stdin = plugin.config().padEnd(1 << 20, '\u0001');
    expect(await plugin.call('ADD', { stdin })).toEqual({ status: 1, stdout: ERROR, stderr: '' });
  });

  test('byte by byte is taken', async () => {
    const answer = `${OK}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n01 \r\n}\r\n0\r\nA: b\r\n\r\n`;
    await plugin.serveRaw(async (socket) => {
      socket.setNoDelay(true);
      for (const c of answer) {
        socket.write(c);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    expect(await plugin.call('ADD')).toEqual({ status: 0, stdout: '{}', stderr: '' });
  });

  test('with more behind it is taken, and the connection is not waited for', async () => {
    await plugin.serveRaw((socket) => socket.write(`${OK}Content-Length: 2\r\n\r\n{}HTTP/1.1 500 x\r\n\r\n`));
    expect(await plugin.call('ADD')).toEqual({ status: 0, stdout: '{}', stderr: '' });
  });

  test('until the connection ends is taken', async () => {
    await plugin.serveRaw(says(`${OK}\r\n{"a":1}`));
    expect(await plugin.call('ADD')).toEqual({ status: 0, stdout: '{"a":1}', stderr: '' });
  });

  test('without end is not', async () => {
    await plugin.serveRaw((socket) => {
      socket.write(`${OK}\r\n`);
      const block = Buffer.alloc(1 << 20, 0x20);
      const go = () => {
        while (!socket.destroyed && socket.write(block));
      };
      socket.on('drain', go);
      go();
    });
    const error = errorOf(await plugin.call('ADD'));
    expect(error).toMatchObject({ code: 999, msg: expect.stringContaining('the answer is too long') });
  });

  test('nested a million deep is none', async () => {
    await plugin.serve((_, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.end('['.repeat(1_000_000) + ']'.repeat(1_000_000));
    });
    expect(errorOf(await plugin.call('ADD'))).toMatchObject({ code: 999 });
  });

  test('as large as may be is taken', async () => {
    const body = `"${'x'.repeat(CNI.largestRequest - 2)}"`;
    await plugin.serve((_, res) => json(res, JSON.parse(body)));
    expect((await plugin.call('ADD')).stdout === body).toBe(true);
  });
});
