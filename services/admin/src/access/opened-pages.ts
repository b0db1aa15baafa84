import type { KeptRecord, Records } from '@culvert/bus';

/** Ends what operators have opened for themselves from the dashboard; links that they made for others are not among it. */
async function end(records: Records, isMeant: (value: KeptRecord<'grant'>['value']) => boolean): Promise<void> {
  for await (const { id, value } of records.all('grant')) {
    if (value.login !== undefined && isMeant(value)) await records.delete('grant', id);
  }
}

/** A login is over: so is what was opened with it. */
export const endPagesOfLogin = (records: Records, login: string): Promise<void> => end(records, (value) => value.login === login);

/** An operator is removed, or has another token. */
export const endPagesOfOperator = (records: Records, operator: string): Promise<void> =>
  end(records, (value) => value.created_by === operator);
