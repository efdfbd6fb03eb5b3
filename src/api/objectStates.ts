/** How an object that the kernel is to hold may stand. */
export const OBJECT_STATES = ['inSync', 'missing', 'failing', 'conflict'] as const;

export type ObjectState = (typeof OBJECT_STATES)[number];
