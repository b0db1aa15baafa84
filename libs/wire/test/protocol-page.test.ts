import { readFileSync } from 'node:fs';
import { ERRORS, INLINE_CREDIT_MAX, INLINE_DATA_MAX, LIMITS } from '@culvert/contracts';
import { describe, expect, it } from 'vitest';
import { encodeInline, encodeMessage, encodeText, InlineChannels, MESSAGE_MAX, renderUpgrade, ZERO_MASK } from '../src/index.ts';

const page = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8');
const spaced = (bytes: Buffer): string => (bytes.toString('hex').match(/../g) ?? []).join(' ');
const number = (value: number): string => value.toLocaleString('en-US');

describe('docs/PROTOCOL.md', () => {
  it('has the table of codes as contracts has it', () => {
    const table = /<!-- codes: [^>]*-->\n\|[^\n]*\n\|[^\n]*\n([\s\S]*?)\n<!-- \/codes -->/.exec(page)?.[1];
    const rows = Object.entries(ERRORS).map(
      ([code, { http, close, retry, meaning }]) => `| \`${code}\` | ${http ?? '–'} | ${close ?? '–'} | ${retry} | ${meaning} |`,
    );
    expect(table?.split('\n')).toEqual(rows);
  });

  it('shows the bytes that we send', () => {
    const idle = encodeMessage({ type: 'idle', id: 'a' });
    expect(page).toContain(`server  ${spaced(encodeText(idle))}\n`);
    expect(page).toContain(`device  ${spaced(encodeText(idle, ZERO_MASK))}\n`);
    expect(page).toContain(renderUpgrade('dGhlIHNhbXBsZSBub25jZQ==').replaceAll('\r\n', '\n'));
  });

  it('shows inline messages as we send them', () => {
    const channels = new InlineChannels('device', 2);
    channels.open(0, 1);
    channels.receive(encodeInline({ kind: 'credit', channel: 0, bytes: 5 }));
    expect(page).toContain(`hello on channel 0     ${spaced(channels.data(0, Buffer.from('hello'), 0, 5))}\n`);
    expect(page).toContain(`END on channel 0       ${spaced(encodeInline({ kind: 'end', channel: 0 }))}\n`);
    expect(page).toContain(`CREDIT of 65,536 on 1  ${spaced(encodeInline({ kind: 'credit', channel: 1, bytes: 65_536 }))}\n`);
    expect(page).toContain(`CLOSE 1000 on 0        ${spaced(encodeInline({ kind: 'close', channel: 0, code: 1000 }))}\n`);
    const path = '/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Y';
    expect(page).toContain(`    ${encodeMessage({ type: 'open', channel: 0, path, credit: 2048 })}\n`);
  });

  it('names the limits as contracts has them', () => {
    const limits: [string, number][] = [
      ['text message', MESSAGE_MAX],
      ['request line and headers of a handshake', LIMITS.HANDSHAKE_BYTES.default],
      ['ports of a device', LIMITS.PORTS_PER_DEVICE.default],
      ['binary frame to the server', LIMITS.MAX_FRAME_BYTES.max],
      ['data in one inline message', INLINE_DATA_MAX],
      ['unspent credit of an inline transfer', INLINE_CREDIT_MAX],
      ['control messages of a device', LIMITS.CONTROL_MESSAGES_PER_SECOND.default],
      ['unsent control messages, either way', LIMITS.CONTROL_BUFFER_BYTES.default],
      ['handshake', LIMITS.HANDSHAKE_MS.default],
      ['from the first `dial` to the open transfer', LIMITS.DIAL_MS.default],
      ['from `assign` to `accepted`', LIMITS.WARM_ACCEPT_MS.default],
      ['silence of the second direction after the first END', LIMITS.LINGER_MS.default],
      ['a peer that takes no byte while bytes wait', LIMITS.WRITE_MS.default],
      ['closing handshake', LIMITS.CLOSE_MS.default],
    ];
    for (const [what, value] of limits) expect(page).toContain(`| ${what} | ${number(value)}`);
  });
});
