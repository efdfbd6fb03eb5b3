import { type Codec, flag, string, u8, u16, u32 } from './codecs.ts';
import type { Request, Shape } from './message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from './policy.ts';
import { eachAttribute, type Source, type Writer } from './wire.ts';

/** ethtool(8) by generic netlink: linux/genetlink.h, linux/ethtool_netlink.h (Linux 5.6, features since 5.8). */

/** struct genlmsghdr */
const genlmsghdr = header('genlmsghdr', { cmd: u8, version: u8, reserved: u16 });
export type Genl = HeaderOf<typeof genlmsghdr>;

/** The message type of the family that knows the numbers of all others. */
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL = attributes({ CTRL_ATTR_FAMILY_ID: [1, u16], CTRL_ATTR_FAMILY_NAME: [2, string] });

const ctrlShape: Shape<Genl, ValuesOf<typeof CTRL>> = {
  name: 'generic netlink family',
  header: genlmsghdr,
  attributes: CTRL,
};

/** Which message type a family has been given: CTRL_ATTR_FAMILY_ID of the answer. ENOENT: this kernel has none of the name. */
export const getFamily = (name: string): Request<Genl, ValuesOf<typeof CTRL>> => ({
  shape: ctrlShape,
  type: GENL_ID_CTRL,
  flags: 0,
  header: { cmd: CTRL_CMD_GETFAMILY, version: 2 },
  attributes: { CTRL_ATTR_FAMILY_NAME: name },
});

const ETHTOOL_MSG_FEATURES_GET = 11;
const ETHTOOL_MSG_FEATURES_SET = 12;
/** Only the acknowledgement, not what has changed. */
const ETHTOOL_FLAG_OMIT_REPLY = 2;

const HEADER = attributes({ ETHTOOL_A_HEADER_DEV_INDEX: [1, u32], ETHTOOL_A_HEADER_FLAGS: [3, u32] });

const BIT = attributes({ ETHTOOL_A_BITSET_BIT_NAME: [2, string], ETHTOOL_A_BITSET_BIT_VALUE: [3, flag] });
const ETHTOOL_A_BITSET_BITS_BIT = 1;
const NLA_F_NESTED = 0x8000;

/** A bit set by the names of its bits: to the kernel, whether each is to be on; from it, those that are. */
const bits: Codec<ReadonlyMap<string, boolean>> = {
  nested: true,
  write(w: Writer, value) {
    for (const [name, on] of value) {
      const mark = w.beginAttribute(ETHTOOL_A_BITSET_BITS_BIT | NLA_F_NESTED);
      BIT.write(w, { ETHTOOL_A_BITSET_BIT_NAME: name, ETHTOOL_A_BITSET_BIT_VALUE: on });
      w.endAttribute(mark);
    }
  },
  read(s: Source, at: number, end: number) {
    const found = new Map<string, boolean>();
    eachAttribute(s, at, end, (type, from, to) => {
      if (type !== ETHTOOL_A_BITSET_BITS_BIT) return;
      const { ETHTOOL_A_BITSET_BIT_NAME: name } = BIT.read(s, from, to) ?? {};
      // A set without a mask tells those that are on, and says no more of each.
      if (name !== undefined) found.set(name, true);
    });
    return found;
  },
};

const BITSET = attributes({ ETHTOOL_A_BITSET_BITS: [3, bits] });

const FEATURES = attributes({
  ETHTOOL_A_FEATURES_HEADER: [1, HEADER],
  ETHTOOL_A_FEATURES_WANTED: [3, BITSET],
  ETHTOOL_A_FEATURES_ACTIVE: [4, BITSET],
});
export type FeatureAttributes = ValuesOf<typeof FEATURES>;

const featuresShape: Shape<Genl, FeatureAttributes> = {
  name: 'device features',
  header: genlmsghdr,
  attributes: FEATURES,
};

/** What a device does for senders: ETHTOOL_A_FEATURES_ACTIVE of the answer. `family`: the message type of `ethtool`. */
export const getFeatures = (family: number, ifindex: number): Request<Genl, FeatureAttributes> => ({
  shape: featuresShape,
  type: family,
  flags: 0,
  header: { cmd: ETHTOOL_MSG_FEATURES_GET, version: 1 },
  attributes: { ETHTOOL_A_FEATURES_HEADER: { ETHTOOL_A_HEADER_DEV_INDEX: ifindex } },
});

/** Wish for features by name, as in `ethtool -k`; those that are not named stay. What the device cannot do is passed over. */
export const setFeatures = (
  family: number,
  ifindex: number,
  wanted: ReadonlyMap<string, boolean>,
): Request<Genl, FeatureAttributes> => ({
  shape: featuresShape,
  type: family,
  flags: 0,
  header: { cmd: ETHTOOL_MSG_FEATURES_SET, version: 1 },
  attributes: {
    ETHTOOL_A_FEATURES_HEADER: {
      ETHTOOL_A_HEADER_DEV_INDEX: ifindex,
      ETHTOOL_A_HEADER_FLAGS: ETHTOOL_FLAG_OMIT_REPLY,
    },
    ETHTOOL_A_FEATURES_WANTED: { ETHTOOL_A_BITSET_BITS: wanted },
  },
});

/** The features that an answer says are on. */
export const activeFeatures = ({
  ETHTOOL_A_FEATURES_ACTIVE: active,
}: FeatureAttributes): ReadonlySet<string> => new Set(active?.ETHTOOL_A_BITSET_BITS?.keys());
