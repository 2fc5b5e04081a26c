// Prompts as an end-to-end specification holds them. Invented cases.
import { expect, test } from '@playwright/test';

const ouverture = 'Mon père, Georges Faure, est mort le 14 juin 2024.';

const cas = [
  {
    nom: 'assurance-vie',
    prompt: ouverture + ' Il était veuf. Il avait une assurance-vie chez Prévoyance du Rhône, avec 85\u00a0000 euros.' +
      " Je suis son seul enfant, Nadia, et je n'ai pas encore accepté. Est-ce que ce capital compte dans la succession\u202f?",
    dimensions: { persona: 'enfant', voice: 'je', topic: 'assurance_vie' },
    attendu: {
      defunt: { prenom: 'Georges', nom: 'Faure', date_deces: '2024-06-14', situation_matrimoniale: 'veuf' },
      heritiers: [{ id: 'H1', lien: 'enfant', statut: 'option_non_exercee', prenom: 'Nadia' }],
      assurances_vie: [{ id: 'AV1', assureur: 'Prévoyance du Rhône', capital_deces: 85_000 }],
      demandes: ['assurance_vie'],
    },
  },
  { nom: 'dette', prompt: `${ouverture} Il laisse un crédit de 12 500 € et presque rien d'autre. Faut-il payer avec notre argent ?` },
];

for (const { nom, prompt } of cas) {
  test(nom, async ({ page }) => {
    await page.goto('/');
    await page.getByRole('textbox').fill(prompt);
    await page.getByRole('button', { name: 'Envoyer' }).click();
    await expect(page.getByRole('article')).toBeVisible();
  });
}

test('une question tapée', async ({ page }) => {
  await page.getByLabel('Question').pressSequentially(
    "Ma tante a fait un testament à la main, sans le dater. Est-ce qu'il vaut quelque chose ?",
  );
});
