import type { Sample } from './datapathFigures.ts';

export const ratiosSvg = (_samples: readonly Sample[]): string => '';
