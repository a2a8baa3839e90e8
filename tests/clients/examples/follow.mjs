const LONGEST_WAIT = 30_000;
const PASSING = ["SLOW_CONSUMER", "SERVER_RESTARTING"];
const HOPELESS = [4400, 4403, 4409, 4429, 400, 401, 403, 404, 406, 415];

// Follows a stream until the function that it returns is called. After every interruption it begins again, behind the
// last item that you used. `subscribe` is your library's, see below; `refused` gets errors that stay.
export function follow(subscribe, query, variables, use, refused) {
  let { after } = variables;
  let failures = 0;
  let isStopped = false;
  let end, timer;

  function begin() {
    let isOver = false;
    function over(failure) {
      if (isOver || isStopped) return;
      isOver = true;
      setTimeout(() => end()); // not at once: urql fails when it is left from within its own call
      const errors = [failure, failure?.errors, failure?.graphQLErrors].find((each) => each?.length) ?? [];
      const passing = errors.find(({ extensions }) => PASSING.includes(extensions?.code));
      if (passing) after = passing.extensions.cursor ?? after;
      else if (errors.length || HOPELESS.includes(codeOf(failure))) return refused(errors, failure);
      timer = setTimeout(begin, 100 + Math.random() * Math.min(LONGEST_WAIT, 500 * 2 ** failures++));
    }
    end = subscribe(query, { ...variables, after }, {
      next({ data, error, errors }) {
        if (isOver || isStopped) return;
        if (!data) return over(errors ?? error);
        const [item] = Object.values(data);
        use(item);
        after = item.cursor; // only now
        failures = 0;
      },
      error: over,
      complete: over,
    });
  }

  begin();
  return () => {
    isStopped = true;
    clearTimeout(timer);
    end();
  };
}

// The close code of a socket, or the status of an answer, wherever the library puts it.
function codeOf(failure) {
  const told = /event (\d{4})/.exec(failure?.message);
  return failure?.code ?? failure?.statusCode ?? failure?.response?.status ?? Number(told?.[1]);
}
