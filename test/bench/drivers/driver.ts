/** One way from a visitor to the local target. Each alternative is one file that exports a Driver. */
export interface Driver {
  name: string;
  /** Undefined when it can run here, else why not: shown in the report instead of figures. */
  unavailable(): Promise<string | undefined>;
  /** Starts it in front of the origin. */
  start(originPort: number): Promise<Path>;
}

/** Pids by what they do, such as `listener` and `agent`. Only processes that relay bytes. */
export type Parts = Readonly<Record<string, readonly number[]>>;

export interface Path {
  /** Ports of 127.0.0.1 that visitors connect to, in turn. None: it takes HTTP only. */
  ports: readonly number[];
  parts: Parts;
  /** Other ways in, for the time to the first byte only: `classic` → port. */
  ways?: Readonly<Record<string, number>>;
  /** Where HTTP requests with this Host are answered by the same origin. */
  http?: { port: number; host: string };
  version: string;
  stop(): Promise<void>;
}
