// Searches as a specification holds them. Invented cases.
const recherches = ['héritage sans testament frères et sœurs', 'pacs et maison du défunt'];

describe('la barre de recherche', () => {
  recherches.forEach((texte) => {
    it(texte, () => cy.get('#recherche').type(texte));
  });

  it('cherche un délai', () => {
    cy.get('#recherche').type('délai pour renoncer à une succession{enter}');
  });
});
