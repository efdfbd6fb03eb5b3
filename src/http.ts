/**
 * `node:http`. An `import` of it reads its every export, and with them loads Node's client for fetch and WebSocket:
 * 11 MB resident that nobody here uses. Asked for in this way it comes alone.
 */
export const http = process.getBuiltinModule('node:http');
