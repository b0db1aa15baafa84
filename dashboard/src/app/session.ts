import { type Role, roleSuffices } from '@culvert/contracts';
import { useQuery } from '@tanstack/react-query';
import { sessionQuery } from '../api/queries.ts';
import type { Operator } from '../api/types.ts';

const NOBODY: Operator = { name: '', role: 'viewer' };

/** Who is logged in. */
export const useOperator = (): Operator => useQuery(sessionQuery).data ?? NOBODY;

/** May they do what wants this role? Buttons that would be refused are not shown. */
export const useMay = (wanted: Role): boolean => roleSuffices(useOperator().role, wanted);
