/** Milliseconds until an answer must be there. */
const LIMIT = 20_000;

/** A resource of the daemon that served the page; it may stand below another path behind a proxy. The worker's own file is in assets/. */
export const resource = (path: string): string => new URL(`../${path}`, location.href).href;

/** `GET` of this origin's API, parsed. Throws with words for people. */
export async function ask<T>(path: string, signal: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(resource(path), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(LIMIT)]),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
  } catch (e) {
    const late = (e as Error).name === 'TimeoutError';
    throw new Error(late ? `no answer within ${LIMIT / 1000} s` : 'the daemon does not answer');
  }
  if (!response.ok) {
    const text = await response.text().catch(() => '');
    throw new Error(`${path}: ${response.status} ${messageOf(text)}`.trim());
  }
  try {
    return (await response.json()) as T;
  } catch {
    throw new Error(`${path}: the answer broke off`);
  }
}

function messageOf(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown } };
    return typeof error?.message === 'string' ? error.message : '';
  } catch {
    return '';
  }
}
