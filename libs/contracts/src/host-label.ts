/** Labels under the operator's domain that no device gets: people and programs expect something else there. */
const RESERVED: ReadonlySet<string> = new Set(
  'admin api app auth autoconfig autodiscover cdn culvert dashboard dns docs edge ftp git help imap localhost login mail mta-sts mx ns ns1 ns2 pop root smtp status support test webmail wpad www'.split(
    ' ',
  ),
);

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Says what is wrong with a label that a device's host name is to begin with; undefined when nothing is. */
export function faultOfHostLabel(label: string): string | undefined {
  const shown = JSON.stringify(label.slice(0, 80));
  if (!LABEL.test(label)) return `host ${shown} is not a DNS label; expected 1 to 63 of a-z, 0-9 and inner hyphens, such as shop`;
  if (label.slice(2, 4) === '--')
    return `host ${shown} has hyphens in third and fourth place, which mean an encoding; expected another`;
  if (RESERVED.has(label)) return `host ${shown} is a reserved word; expected another, such as ${label}-1`;
  return undefined;
}
