/** Milliseconds until an answer must be there. */
const LIMIT = 20_000;

/** `GET` of this origin's API, parsed. Throws with words for people. */
export async function ask<T>(path: string, signal: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
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
