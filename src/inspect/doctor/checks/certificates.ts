import type { Facts } from '../facts.ts';
import { type Check, type Found, failure, ok, orOk, skipped, warning } from '../types.ts';

const DAY = 86_400_000;
/** Days before its end that a certificate is spoken of. */
const SOON = 14;

const date = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace('T', ' ');

/** Are the certificates between us and etcd readable and valid today? */
export const certificates: Check<Facts> = {
  id: 'certificates',
  group: 'etcd',
  title: 'TLS certificates',
  look(facts) {
    if ('missing' in facts.certificates) return [skipped(facts.certificates.missing)];
    const now = 'value' in facts.clock ? facts.clock.value.now : Date.now();
    const found: Found[] = [];
    const files = facts.certificates.value;
    for (const { option, path, error, from, to } of files) {
      if (error !== null) {
        const denied = /EACCES|EPERM/.test(error);
        found.push(
          denied && !facts.privileged
            ? skipped(`${path} (${option}) cannot be read by this user`, path)
            : failure(
                path,
                `${path} (${option}) cannot be used: ${error}`,
                `correct ${option} or the file and its permissions`,
              ),
        );
      } else
        found.push(
          ...validity(
            path,
            `${path} (${option})`,
            from,
            to,
            now,
            'replace the file by a new one; it is read at the next connection',
          ),
        );
    }
    const servers = 'value' in facts.etcd ? facts.etcd.value.filter((e) => e.certificate) : [];
    for (const { endpoint, certificate } of servers)
      found.push(
        ...validity(
          endpoint,
          `the certificate of etcd at ${endpoint}`,
          certificate!.from,
          certificate!.to,
          now,
          'give etcd a new certificate (--cert-file, --key-file)',
        ),
      );
    if (files.length === 0 && servers.length === 0) return [ok('etcd is spoken to without TLS')];
    return orOk(found, `${files.length + servers.length} certificates and keys can be used`);
  },
};

function validity(
  subject: string,
  what: string,
  from: number | null,
  to: number | null,
  now: number,
  fix: string,
): Found[] {
  if (to !== null && to < now) return [failure(subject, `${what} has expired on ${date(to)} UTC`, fix)];
  if (from !== null && from > now)
    return [
      failure(subject, `${what} is valid only from ${date(from)} UTC on`, `${fix}; or correct the clock`),
    ];
  if (to !== null && to < now + SOON * DAY)
    return [warning(subject, `${what} expires on ${date(to)} UTC`, fix)];
  return [];
}
