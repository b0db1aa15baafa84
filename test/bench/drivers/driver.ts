/** One way from a visitor to the local target. Each alternative is one file that exports a Driver. */
export interface Driver {
  name: string;
  /** Undefined when it can run here, else why not: shown in the report instead of figures. */
  unavailable(): Promise<string | undefined>;
  /** Starts it in front of the origin. */
  start(originPort: number): Promise<Path>;
}

export interface Path {
  /** Port of 127.0.0.1 that visitors connect to. */
  port: number;
  /** Processes whose CPU time counts: all that relay bytes, and nothing else. */
  pids: readonly number[];
  version: string;
  stop(): Promise<void>;
}
