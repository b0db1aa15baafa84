/** What can be in a `Members`, in one at a time. */
export interface Member {
  /** Where it stands there. Written by that `Members` alone. */
  place?: number | undefined;
}

/**
 * A set in no order, for members that come and go by the thousand a second.
 *
 * Not a `Set` or a `Map`: whenever V8 clears the table of one from what was deleted, the old table keeps its entries and points to the
 * new one. As soon as one old table has grown old, it keeps the next alive through every collection of young objects, that one the
 * next, and so on: everything that was ever in the set is copied and becomes old itself, until the whole heap is collected.
 */
export class Members<T extends Member> {
  readonly #list: T[] = [];

  get size(): number {
    return this.#list.length;
  }

  /** One that is in it already stays. */
  add(member: T): void {
    if (member.place !== undefined) return;
    member.place = this.#list.length;
    this.#list.push(member);
  }

  /** False: it was not in it. */
  delete(member: T): boolean {
    const { place } = member;
    if (place === undefined) return false;
    const last = this.#list.pop() as T;
    if (last !== member) {
      this.#list[place] = last;
      last.place = place;
    }
    member.place = undefined;
    return true;
  }

  /** Any of them may be deleted meanwhile: who is in it all the time is met, perhaps twice; who is deleted before its turn is not. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let place = this.#list.length - 1; place >= 0; place -= 1) {
      const member = this.#list[place];
      if (member !== undefined) yield member;
    }
  }
}
