import type { Ink } from './grid.tsx';

/** What colours and signs mean, in words. */
export function Legend({
  label,
  items,
}: {
  readonly label: string;
  readonly items: readonly { readonly ink: Ink; readonly text: string }[];
}) {
  return (
    <ul class="legend" aria-label={label}>
      {items.map(({ ink, text }) => (
        <li key={text}>
          <span
            class="swatch"
            aria-hidden="true"
            style={{ background: `var(${ink.colour})`, color: `var(${ink.signColour ?? '--ink'})` }}
          >
            {ink.sign ?? ''}
          </span>
          {text}
        </li>
      ))}
    </ul>
  );
}
