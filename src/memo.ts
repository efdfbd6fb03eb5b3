/**
 * `make`, done once for each key: the same key (===) gives the same value (===), for as long as somebody holds the key.
 * For pure functions of values that stay the same objects while nothing of them changes.
 */
export function memo<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const made = new WeakMap<K, V>();
  return (key) => {
    let value = made.get(key);
    if (value === undefined) {
      value = make(key);
      made.set(key, value);
    }
    return value;
  };
}
