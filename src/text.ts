/** Text that others have made: at most so much of it, and nothing in it that a terminal would obey. */

/** Text without control and invisible formatting characters. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?');

/** As {@link printable}, but for line ends: errors and configs have several lines. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');

/** All of a stream of bytes as text. Throws RangeError when there are more than `largest`. */
export async function textOf(input: AsyncIterable<Buffer>, largest: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input) {
    size += chunk.length;
    if (size > largest) throw new RangeError(`more than ${largest} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
