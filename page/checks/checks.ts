/** Looked at in the browser by tests: each function is sent there by itself, so it uses nothing of outside. */

/** What is wrong with a page for those who do not see it, or see little; in words, empty: nothing. */
export function accessibility(): string[] {
  const problems: string[] = [];
  const name = (e: Element): string => {
    const by = e.getAttribute('aria-labelledby');
    if (by)
      return by
        .split(' ')
        .map((id) => document.getElementById(id)?.textContent ?? '')
        .join(' ')
        .trim();
    const label = e.getAttribute('aria-label') ?? '';
    if (label) return label.trim();
    const labels = 'labels' in e ? [...((e as HTMLInputElement).labels ?? [])] : [];
    return (labels.map((l) => l.textContent).join(' ') || (e.textContent ?? '')).trim();
  };
  const what = (e: Element) => `${e.tagName.toLowerCase()}${e.id ? `#${e.id}` : ''}.${e.className}`;
  const wrong = (e: Element, why: string) => problems.push(`${what(e)}: ${why}`);

  for (const e of document.querySelectorAll(
    'button, input, select, a, [role=grid], section, dialog, fieldset, [role=log]',
  )) {
    if (e.tagName === 'FIELDSET' ? !e.querySelector('legend')?.textContent : !name(e))
      wrong(e, 'has no name');
  }
  for (const e of document.querySelectorAll('canvas, svg, img')) {
    if (!e.closest('[aria-hidden=true]') && !name(e)) wrong(e, 'is a picture without words');
  }
  for (const e of document.querySelectorAll('[aria-hidden=true]')) {
    const inside = [e, ...e.querySelectorAll('*')].find((x) => (x as HTMLElement).tabIndex >= 0);
    if (inside) wrong(inside, 'can have the focus, but is hidden');
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i)))
    problems.push(`#${id} is there twice`);
  for (const attribute of ['aria-labelledby', 'aria-describedby', 'aria-activedescendant']) {
    for (const e of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of e.getAttribute(attribute)!.split(' ')) {
        if (!document.getElementById(id)) wrong(e, `${attribute} names #${id}, which is not there`);
      }
    }
  }
  for (const e of document.querySelectorAll('table')) {
    if (!e.getAttribute('aria-label') && !e.caption && !e.closest('dialog')) wrong(e, 'has no caption');
    if ([...e.querySelectorAll('thead th')].some((th) => th.getAttribute('scope') !== 'col'))
      wrong(e, 'a head without scope');
    if (!e.querySelector('tbody th[scope=row]')) wrong(e, 'its rows have no heads');
  }
  let level = 0;
  for (const e of document.querySelectorAll('h1, h2, h3, h4')) {
    const its = Number(e.tagName[1]);
    if (its > level + 1) wrong(e, `leaves out a level of headings: ${e.textContent}`);
    level = its;
  }
  for (const [selector, count] of [
    ['h1', 1],
    ['main', 1],
    ['header', 1],
  ] as const) {
    if (document.querySelectorAll(selector).length !== count)
      problems.push(`there should be ${count} ${selector}`);
  }
  if (!document.documentElement.lang) problems.push('the page has no language');
  if (document.querySelector('[tabindex]:not([tabindex="0"], [tabindex="-1"])'))
    problems.push('a tabindex changes the order');
  return problems;
}

/** Text with less contrast than WCAG 2.2 AA asks for (1.4.3). */
export function contrast(): string[] {
  const parse = (css: string): number[] => (css.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r = 0, g = 0, b = 0]: number[]): number => {
    const [x, y, z] = [r, g, b].map((c) =>
      c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * x! + 0.7152 * y! + 0.0722 * z!;
  };
  const behind = (e: Element | null): number[] => {
    for (let at = e; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if ((colour[3] ?? 1) > 0.5 && colour.length >= 3) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set<string>();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent?.trim());
    if (!own || e.closest('.vh, noscript, [disabled], svg') || (e as HTMLElement).offsetParent === null)
      continue;
    const style = getComputedStyle(e);
    const [a, b] = [luminance(parse(style.color)), luminance(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = Number.parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5))
      low.add(
        `${e.tagName.toLowerCase()}.${e.className}: ${ratio.toFixed(2)} "${e.textContent?.slice(0, 30)}"`,
      );
  }
  return [...low];
}

/** What has the focus: its section, and its id or name; null: nothing. */
export function focused(): string | null {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const section = e.closest('section')?.id || e.closest('header')?.tagName.toLowerCase() || '';
  return `${section}/${e.id || e.getAttribute('aria-label') || e.tagName.toLowerCase()}`;
}

/** Focus what comes first. */
export function focusFirst(): void {
  document.querySelector<HTMLElement>('a, button, input, select, [tabindex="0"]')?.focus();
}
