/** `GET /v1/matrix`: who reaches whom, gathered from the daemons of all nodes for as long as somebody asks. */
export interface MatrixJson {
  /** Nodes that are left out because there are too many. */
  readonly omitted: number;
  /** By subnet: rows and columns alike. */
  readonly nodes: readonly {
    readonly key: string;
    readonly self: boolean;
    /**
     * One character for each column: `.` unprobed, `0`…`9` reachable with a round trip below 0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 200 ms and more,
     * `l` lossy, `m` route lowered for a path MTU, `x` unreachable, `-` itself. Null: nobody has told.
     */
    readonly row: string | null;
    /** When it was fetched. */
    readonly at: string | null;
    /** Why there is no row. */
    readonly error: string | null;
  }[];
}

/** `GET /v1/row`: whom the node that is asked reaches; nodes make the matrix of it. */
export interface RowJson {
  /** Of its own lease; null: it has none. */
  readonly key: string | null;
  /** Lease keys of peers, and a character for each as in {@link MatrixJson}. */
  readonly peers: readonly string[];
  readonly cells: string;
}
