/** How a class is shown to people: its colour as CSS, its label as words. */

/** @param {[number, number, number]} colour */
export const rgb = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** `body-skin` reads "Body skin". @param {string} label */
export const titled = (label) => label.charAt(0).toUpperCase() + label.slice(1).replaceAll("-", " ");
