import type { CleanupOptions } from '../config/commands.ts';
export async function cleanup(_: CleanupOptions, __: (t: string) => void): Promise<void> {}
