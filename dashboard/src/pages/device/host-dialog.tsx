import { useEffect, useState } from 'react';
import { api } from '../../api/client.ts';
import { Field, FormDialog } from '../../ui/form-dialog.tsx';
import { useSay } from '../../ui/toasts.tsx';

interface HostDialogProps {
  device: string;
  /** What the fields begin with; undefined: the dialog is closed. */
  wanted: { port: number; label: string } | undefined;
  close: () => void;
  done: () => Promise<void>;
}

/** Reserves a host name for an endpoint, for ever; a connected device is renamed at once. */
export function HostDialog({ device, wanted, close, done }: HostDialogProps) {
  const say = useSay();
  const [port, setPort] = useState('');
  const [label, setLabel] = useState('');
  useEffect(() => {
    if (wanted === undefined) return;
    setPort(String(wanted.port));
    setLabel(wanted.label);
  }, [wanted]);
  const reserve = async (): Promise<undefined> => {
    const path = `/v1/devices/${device}/endpoints/${Number(port)}/host`;
    const { host, renamed } = await api<{ host: string; renamed: boolean }>('PUT', path, { host: label.trim() });
    say(`${host} is reserved`, renamed ? 'It leads there now; the former name leads nowhere.' : 'From its next connection on.');
    await done();
  };
  return (
    <FormDialog
      open={wanted !== undefined}
      onOpenChange={(open) => !open && close()}
      title={`Host name of ${device}`}
      action="Reserve"
      ready={label.trim() !== '' && /^\d+$/.test(port)}
      act={reserve}
    >
      <Field
        label="Host name"
        value={label}
        onChange={setLabel}
        maxLength={63}
        hint="One label under the domain, such as shop. It stays reserved when the device is away, until you give it back."
      />
      <Field label="Device port" value={port} onChange={setPort} type="number" hint="Of an http or https endpoint" />
    </FormDialog>
  );
}
