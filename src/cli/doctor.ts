import type { Values } from '../config/options.ts';
import type { Env, Flags } from '../config/sources.ts';
import { EXIT } from '../contract.ts';
import { CHECKS } from '../inspect/doctor/checks/index.ts';
import { chosen, examine } from '../inspect/doctor/examine.ts';
import { gather } from '../inspect/doctor/gather/index.ts';
import { coloured, type Io } from './command.ts';
import { paint } from './paint.ts';
import { renderChecks, renderReport } from './render/doctor.ts';
import { json } from './render.ts';

export interface DoctorOptions {
  readonly flags: Flags;
  readonly env: Env;
  readonly values: Values;
}

/** `loden doctor`: exit 0 when nothing fails, 1 when something does. */
export async function doctor({ flags, env, values }: DoctorOptions, io: Io): Promise<number> {
  if (values.list) {
    const list = CHECKS.map(({ id, group, title }) => ({ id, group, title }));
    io.print(values.json ? json(list) : renderChecks(list));
    return EXIT.ok;
  }
  const checks = chosen(values.only);
  const report = examine(await gather(flags, env, values), checks, new Date());
  io.print(
    values.json
      ? json(report)
      : renderReport(report, checks, paint(coloured(values.color, io)), io.terminal?.columns),
  );
  return report.well ? EXIT.ok : EXIT.failure;
}
