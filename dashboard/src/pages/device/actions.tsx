import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import type { Device } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { useSay } from '../../ui/toasts.tsx';
import { type Secret, ShownOnce } from '../settings/once.tsx';
import { ShareDialog } from './share-dialog.tsx';

/** What operators do to a device; others do not see any of it. */
export function DeviceActions({ device }: { device: Device }) {
  const { name, state, revoked, endpoints } = device;
  const mayAct = useMay('operator');
  const say = useSay();
  const queries = useQueryClient();
  const [asked, setAsked] = useState<'disconnect' | 'revoke' | 'rotate' | undefined>();
  const [made, setMade] = useState<Secret>();
  const [sharing, setSharing] = useState(false);
  if (!mayAct || revoked) return null;
  const again = (): Promise<void> => queries.invalidateQueries({ queryKey: ['device', name] });

  const disconnect = async (): Promise<void> => {
    const { disconnected } = await api<{ disconnected: boolean }>('POST', `/v1/devices/${name}/disconnect`);
    say(
      disconnected ? `${name} is disconnected` : `${name} was not connected`,
      disconnected ? 'It may come back at once.' : undefined,
    );
    await again();
  };
  const revoke = async (): Promise<void> => {
    const { missing } = await api<{ missing: string[] }>('DELETE', `/v1/devices/${name}`);
    if (missing.length === 0) say(`${name} is revoked`, 'Its connections are cut.');
    else say(`${name} is revoked`, `Not acknowledged yet by ${missing.join(', ')}.`, true);
    await again();
  };
  const rotate = async (): Promise<void> => {
    const { token } = await api<{ token: string }>('POST', `/v1/devices/${name}/token`);
    const advice = 'Put it into the file of its token. The former one is good until this one is used first.';
    setMade({ title: `A new token for ${name}`, label: 'Token', text: token, advice });
  };
  const share = (): void => {
    if (endpoints.some(({ url }) => url !== undefined)) setSharing(true);
    else say('Nothing to share', `${name} has no page at present.`, true);
  };
  return (
    <div className="actions">
      <button type="button" className="button" onClick={share}>
        <Icon name="link" /> Share
      </button>
      <button type="button" className="button" onClick={() => setAsked('rotate')}>
        <Icon name="key" /> New token
      </button>
      {state === 'connected' ? (
        <button type="button" className="button" onClick={() => setAsked('disconnect')}>
          <Icon name="unplug" /> Disconnect
        </button>
      ) : null}
      <button type="button" className="button danger-text" onClick={() => setAsked('revoke')}>
        <Icon name="trash" /> Revoke
      </button>
      <ShareDialog device={device} open={sharing} onOpenChange={setSharing} />
      <ShownOnce secret={made} close={() => setMade(undefined)} />
      <Confirm
        open={asked === 'rotate'}
        onOpenChange={(open) => setAsked(open ? 'rotate' : undefined)}
        title={`A new token for ${name}?`}
        text="The former one is good until the new one is used first: nothing is cut."
        action="Make it"
        act={rotate}
      />
      <Confirm
        open={asked === 'disconnect'}
        onOpenChange={(open) => setAsked(open ? 'disconnect' : undefined)}
        title={`Disconnect ${name}?`}
        text="Its control connection is ended. It may connect again at once, with the same name and ports."
        action="Disconnect"
        act={disconnect}
      />
      <Confirm
        open={asked === 'revoke'}
        onOpenChange={(open) => setAsked(open ? 'revoke' : undefined)}
        title={`Revoke ${name}?`}
        text="Its token is dead from then on, its connections are cut, its name and ports are given up. This cannot be taken back."
        action="Revoke"
        word={name}
        act={revoke}
      />
    </div>
  );
}
