/** A 48-bit Ethernet address as lower-case `xx:xx:xx:xx:xx:xx`. */
export type Mac = string & { readonly __mac: unique symbol };

/** Parse colon-separated text in either case; undefined if it is not a MAC. */
export function parseMac(text: string): Mac | undefined {
  return /^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/.test(text) ? (text.toLowerCase() as Mac) : undefined;
}

/** As {@link parseMac}, for text known to be right; throws RangeError otherwise. */
export function mac(text: string): Mac {
  const parsed = parseMac(text);
  if (!parsed) throw new RangeError(`not a MAC address: ${JSON.stringify(text)}`);
  return parsed;
}

/** The six bytes, in wire order. */
export const macBytes = (m: Mac): Uint8Array => Uint8Array.from(m.split(':'), (x) => Number.parseInt(x, 16));

/** From six bytes in wire order; throws RangeError for any other length. */
export function macFromBytes(bytes: ArrayLike<number>): Mac {
  if (bytes.length !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.length}`);
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(':') as Mac;
}

/** A locally administered unicast address out of six bytes of any hash (IEEE 802: bit 1 set, bit 0 clear). */
export function localMac(bytes: ArrayLike<number>): Mac {
  const b = Array.from(bytes).slice(0, 6);
  b[0] = (b[0]! & 0xfc) | 0x02;
  return macFromBytes(b);
}
