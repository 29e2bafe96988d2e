/**
 * A conversation's turns as a tree: each names the one that it follows (`parent`, an id; null: none), and turns that
 * follow the same one are siblings, made by asking again or by asking otherwise.
 * Pure: `turns` are all that are known, oldest first. A parent that is not among them is as good as none.
 */

/** The turns from the first to `leaf`. */
export function pathTo(turns, leaf) {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const path = [];
  for (let turn = leaf; turn && !path.includes(turn); turn = turn.parent == null ? null : byId.get(turn.parent)) path.push(turn);
  return path.reverse();
}

/** `turn` and those beside it. */
export function siblingsOf(turns, turn) {
  return turns.filter((each) => each.parent === turn.parent);
}

/** The newest turn at or below `turn`: where the branch that goes through it ends. */
export function newestUnder(turns, turn) {
  const under = new Set([turn.id]);
  let newest = turn;
  for (const each of turns) {
    if (each.parent == null || !under.has(each.parent)) continue; // a turn is newer than the one that it follows
    if (each.id != null) under.add(each.id);
    newest = each;
  }
  return newest;
}
