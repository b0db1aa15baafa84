import { type FormEvent, useState } from 'react';
import { api, textOf } from '../../api/client.ts';
import { CopyField } from '../../ui/copy.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Icon } from '../../ui/icons.tsx';

export function AddDevice() {
  const [open, setOpen] = useState(false);
  const [name, setName] = useState('');
  const [token, setToken] = useState('');
  const [fault, setFault] = useState('');
  const change = (next: boolean): void => {
    setOpen(next);
    setName('');
    setToken('');
    setFault('');
  };
  const add = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setFault('');
    try {
      setToken((await api<{ token: string }>('POST', '/v1/devices', { name: name.trim() })).token);
    } catch (error) {
      setFault(textOf(error));
    }
  };
  return (
    <>
      <button type="button" className="button" onClick={() => setOpen(true)}>
        <Icon name="plus" /> Add device
      </button>
      <Dialog open={open} onOpenChange={change} title={token === '' ? 'Add a device' : `${name.trim()} is added`}>
        {token === '' ? (
          <form onSubmit={(event) => void add(event)}>
            <label className="field">
              <span>Name</span>
              <input
                value={name}
                onChange={(event) => setName(event.target.value)}
                maxLength={63}
                required
                autoComplete="off"
                spellCheck={false}
                aria-describedby="name-rule"
              />
              <small id="name-rule" className="muted">
                a-z, 0-9 and inner hyphens, at most 63
              </small>
            </label>
            {fault === '' ? null : (
              <p className="fault" role="alert">
                {fault}
              </p>
            )}
            <div className="popup-actions">
              <button type="submit" className="button primary" disabled={name.trim() === ''}>
                Add
              </button>
            </div>
          </form>
        ) : (
          <>
            <p>Its token is shown this once. Put it into a file on the device, then start the agent there:</p>
            <CopyField label="Token" text={token} />
            <CopyField
              label="On the device"
              text={`culvert agent --server URL-OF-THIS-SERVER --name ${name.trim()} --token-file token 80=127.0.0.1:3000`}
            />
          </>
        )}
      </Dialog>
    </>
  );
}
