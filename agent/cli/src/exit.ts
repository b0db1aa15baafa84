/** Exit codes of `culvert`; the help text of every command lists them. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 4, offline: 5 } as const;

/** Ends the command: the message goes to standard error, the code to the shell. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** A usage error that names every fault at once. */
export function usageError(faults: readonly string[], command: string): CommandError {
  const lines = faults.map((fault) => `  - ${fault}`);
  return new CommandError(EXIT.usage, `${['cannot start:', ...lines].join('\n')}\nSee culvert ${command} --help.`);
}

/** The message of whatever was thrown, with the system's reason behind it when it is hidden in `cause`. */
export function textOf(err: unknown): string {
  if (!(err instanceof Error)) return String(err);
  if (err instanceof AggregateError && err.errors.length > 0) return err.errors.map(textOf).join('; ');
  return err.cause === undefined ? err.message : `${err.message}: ${textOf(err.cause)}`;
}
