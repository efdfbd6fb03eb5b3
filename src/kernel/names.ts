import { KernelError } from '../errors.ts';

/** Device names and their numbers, as last seen in the namespace. */
export class Names {
  readonly #byIndex = new Map<number, string>();
  readonly #byName = new Map<string, number>();

  set(ifindex: number, name: string): void {
    this.delete(ifindex);
    this.#byIndex.set(ifindex, name);
    this.#byName.set(name, ifindex);
  }

  delete(ifindex: number): void {
    const name = this.#byIndex.get(ifindex);
    this.#byIndex.delete(ifindex);
    if (name !== undefined && this.#byName.get(name) === ifindex) this.#byName.delete(name);
  }

  forget(name: string): void {
    const ifindex = this.#byName.get(name);
    if (ifindex !== undefined) this.delete(ifindex);
  }

  clear(): void {
    this.#byIndex.clear();
    this.#byName.clear();
  }

  name(ifindex: number): string | undefined {
    return this.#byIndex.get(ifindex);
  }

  /** Throws {@link KernelError} ENODEV, as the kernel itself would, when there is no such device. */
  ifindex(name: string): number {
    const ifindex = this.#byName.get(name);
    if (ifindex !== undefined) return ifindex;
    throw new KernelError({ errno: 19, code: 'ENODEV', op: 'find', object: `device ${name}` });
  }
}
