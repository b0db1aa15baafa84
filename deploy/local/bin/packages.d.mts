export const repository: string;
/** What stands between node_modules and package-lock.json; undefined when nothing does. */
export function faultOfPackages(root?: string): string | undefined;
export function installPackages(root?: string): Promise<void>;
