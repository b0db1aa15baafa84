import type { Policy } from '../../api/types.ts';
import { bytes, bytesOf, count } from '../../ui/format.ts';

/** What the form of a policy holds: text, as people write it; empty is no rule. */
export type PolicyText = Record<'visitors' | 'perSecond' | 'bandwidth' | 'alert' | 'cap' | 'ports' | 'forward' | 'allow', string>;

export function textOfPolicy(policy: Policy): PolicyText {
  const number = (value: number | undefined): string => (value === undefined ? '' : String(value));
  return {
    visitors: number(policy.visitors),
    perSecond: number(policy.visitors_per_second),
    bandwidth: sizeText(policy.bytes_per_second),
    alert: sizeText(policy.day_bytes_alert),
    cap: sizeText(policy.day_bytes_cap),
    ports: policy.ports?.join(', ') ?? '',
    forward: policy.forward?.join(', ') ?? '',
    allow: policy.allow?.map(({ port, from }) => `${port}: ${from.join(', ')}`).join('\n') ?? '',
  };
}

/** As short as it can be said without changing it. */
function sizeText(size: number | undefined): string {
  if (size === undefined) return '';
  const text = bytes(size);
  return bytesOf(text) === size ? text : String(size);
}

const words = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

/** @throws Error that says which field is wrong. */
export function policyOfText(text: PolicyText): Policy {
  const policy: Policy = {};
  const set = <K extends keyof Policy>(key: K, value: Policy[K] | undefined): void => {
    if (value !== undefined) policy[key] = value;
  };
  set('visitors', numberOf('Visitors at once', text.visitors));
  set('visitors_per_second', numberOf('New visitors a second', text.perSecond));
  set('bytes_per_second', sizeOf('Bytes a second', text.bandwidth));
  set('day_bytes_alert', sizeOf('Alert', text.alert));
  set('day_bytes_cap', sizeOf('Cap', text.cap));
  if (text.ports.trim() !== '') set('ports', words(text.ports));
  if (text.forward.trim() !== '') {
    set(
      'forward',
      words(text.forward).map((port) => numberOf('Ports for operators', port) ?? 0),
    );
  }
  const lines = text.allow.split('\n').filter((line) => line.trim() !== '');
  if (lines.length > 0) set('allow', lines.map(allowOf));
  return policy;
}

function numberOf(field: string, text: string): number | undefined {
  if (text.trim() === '') return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`${field} is ${text.trim()}; expected a number above 0`);
  return value;
}

function sizeOf(field: string, text: string): number | undefined {
  if (text.trim() === '') return undefined;
  const value = bytesOf(text);
  if (value === undefined) throw new Error(`${field} is ${text.trim()}; expected a size such as 500 MiB`);
  return value;
}

function allowOf(line: string): { port: number; from: string[] } {
  const [, port = '', networks = ''] = /^\s*(\d+)\s*[:=]\s*(.+)$/.exec(line) ?? [];
  if (port === '') throw new Error(`"${line.trim()}" allows nothing; expected PORT: NETWORK, NETWORK`);
  return { port: Number(port), from: words(networks) };
}

/** The rules, as sentences. */
export function rulesOf(policy: Policy): [name: string, rule: string][] {
  const rules: [string, string][] = [];
  if (policy.visitors !== undefined) rules.push(['Visitors at once', count(policy.visitors)]);
  if (policy.visitors_per_second !== undefined) rules.push(['New visitors', `${policy.visitors_per_second} a second`]);
  if (policy.bytes_per_second !== undefined) rules.push(['Bandwidth', `${bytes(policy.bytes_per_second)} a second`]);
  if (policy.day_bytes_alert !== undefined) rules.push(['Alert at', `${bytes(policy.day_bytes_alert)} a day`]);
  if (policy.day_bytes_cap !== undefined) rules.push(['Cut off at', `${bytes(policy.day_bytes_cap)} a day`]);
  if (policy.ports !== undefined) rules.push(['May offer', policy.ports.join(', ')]);
  if (policy.forward !== undefined) rules.push(['Operators may reach', policy.forward.join(', ')]);
  for (const { port, from } of policy.allow ?? []) rules.push([`Visitors of port ${port}`, from.join(', ') || 'nobody']);
  return rules;
}
