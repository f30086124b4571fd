// Control forms are posted with the token in a header: a form of another site cannot do that.
for (const form of document.querySelectorAll("form[data-action]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const outcome = document.getElementById("outcome");
    try {
      const answer = await fetch(form.dataset.action, {
        method: "POST",
        headers: { Authorization: "Bearer " + document.getElementById("token").value },
        body: new URLSearchParams(new FormData(form)),
      });
      const said = await answer.json();
      outcome.textContent = said.result ?? said.error.message;
    } catch (problem) {
      outcome.textContent = "no answer: " + problem.message;
    }
  });
}
