/** Something that reads what strangers send. */
export interface FuzzTarget {
  /** Also the folder of its corpus. */
  name: string;
  /** Good inputs to start from. */
  seeds: readonly Buffer[];
  /** Pieces that mean something to it. */
  words: readonly string[];
  /** Throws when the input did what no input may do. */
  run(input: Buffer): void;
}

/** @throws Error with what was expected. */
export function demand(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

export const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
